;;; driver.el --- Does what a test says  -*- lexical-binding: t; -*-

;;; Commentary:

;; Each line that comes from the port in DRIVER_PORT is a JSON string, a form;
;; its value goes back, as JSON.

;;; Code:

(require 'json)

(defvar driver--pending "")

(defun driver--answer (line)
  "Return the answer to LINE."
  (json-encode
   (condition-case problem
       (list (cons 'value (eval (car (read-from-string (json-read-from-string line))) t)))
     (error (list (cons 'error (error-message-string problem)))))))

(defun driver--take (process output)
  "Answer each whole line in OUTPUT of PROCESS."
  (let ((lines (split-string (concat driver--pending output) "\n")))
    (setq driver--pending (car (last lines)))
    (dolist (line (butlast lines))
      (process-send-string process (concat (driver--answer line) "\n")))))

(let ((process (make-network-process :name "driver" :host "127.0.0.1" :noquery t :coding 'utf-8
                                     :service (string-to-number (getenv "DRIVER_PORT"))
                                     :filter #'driver--take)))
  (while (process-live-p process)
    (accept-process-output process 1)))

;;; driver.el ends here
